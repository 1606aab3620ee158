/* libcrypto under the name by which CivetWeb asks for it, which otherwise only OpenSSL's development package has. */
unsigned long OpenSSL_version_num(void);

__attribute__((visibility("default"))) unsigned long backplane_crypto_version(void);

unsigned long backplane_crypto_version(void)
{
    return OpenSSL_version_num();
}
