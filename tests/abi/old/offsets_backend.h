/* Where plugins of ABI 1.0 have their fields, as libabigail read it from the headers of that time. */
#include <stddef.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#define AT(type, member, bytes) _Static_assert(offsetof(type, member) == (bytes), #type "." #member)

SIZE(bp_error, 512); AT(bp_error, code, 0); AT(bp_error, message, 4);

SIZE(bp_option, 64); AT(bp_option, name, 0); AT(bp_option, fallback, 8); AT(bp_option, help, 16);
AT(bp_option, choices, 24); AT(bp_option, type, 32); AT(bp_option, flags, 36); AT(bp_option, offset, 40);
AT(bp_option, reserved, 44); AT(bp_option, min, 48); AT(bp_option, max, 56);

SIZE(bp_host, 40); AT(bp_host, size, 0); AT(bp_host, reserved, 4); AT(bp_host, context, 8); AT(bp_host, log, 16);
AT(bp_host, now, 24); AT(bp_host, weight_consumed, 32);

SIZE(bp_plugin, 56); AT(bp_plugin, size, 0); AT(bp_plugin, abi_major, 4); AT(bp_plugin, abi_minor, 6);
AT(bp_plugin, kind, 8); AT(bp_plugin, config_size, 12); AT(bp_plugin, name, 16); AT(bp_plugin, version, 24);
AT(bp_plugin, summary, 32); AT(bp_plugin, options, 40); AT(bp_plugin, ops, 48);

SIZE(bp_weight, 64); AT(bp_weight, name, 0); AT(bp_weight, dtype, 8); AT(bp_weight, rank, 12);
AT(bp_weight, shape, 16); AT(bp_weight, data, 48); AT(bp_weight, bytes, 56);

SIZE(bp_cache, 16); AT(bp_cache, kv_heads, 0); AT(bp_cache, head_dim, 4); AT(bp_cache, window, 8);
AT(bp_cache, reserved, 12);

SIZE(bp_value, 8); AT(bp_value, width, 0); AT(bp_value, rows, 4);

SIZE(bp_embed_args, 4); AT(bp_embed_args, scale, 0);

SIZE(bp_norm_args, 8); AT(bp_norm_args, kind, 0); AT(bp_norm_args, epsilon, 4);

SIZE(bp_linear_args, 4); AT(bp_linear_args, activation, 0);

SIZE(bp_qkv_args, 28); AT(bp_qkv_args, heads, 0); AT(bp_qkv_args, kv_heads, 4); AT(bp_qkv_args, head_dim, 8);
AT(bp_qkv_args, rope_mode, 12); AT(bp_qkv_args, rope_dim, 16); AT(bp_qkv_args, rope_table, 20);
AT(bp_qkv_args, norm_epsilon, 24);

SIZE(bp_attention_args, 20); AT(bp_attention_args, heads, 0); AT(bp_attention_args, mask, 4);
AT(bp_attention_args, scale, 8); AT(bp_attention_args, soft_cap, 12); AT(bp_attention_args, sinks, 16);

SIZE(bp_scale_args, 4); AT(bp_scale_args, scale, 0);

SIZE(bp_logits_args, 8); AT(bp_logits_args, scale, 0); AT(bp_logits_args, soft_cap, 4);

SIZE(bp_pool_args, 8); AT(bp_pool_args, pooling, 0); AT(bp_pool_args, normalise, 4);

SIZE(bp_op, 80); AT(bp_op, kind, 0); AT(bp_op, flags, 2); AT(bp_op, in, 4); AT(bp_op, out, 20); AT(bp_op, weight, 28);
AT(bp_op, cache, 60); AT(bp_op, layer, 64); AT(bp_op, args_size, 68); AT(bp_op, args, 72);

SIZE(bp_program, 80); AT(bp_program, size, 0); AT(bp_program, numerics, 4); AT(bp_program, family, 8);
AT(bp_program, op_count, 16); AT(bp_program, weight_count, 20); AT(bp_program, cache_count, 24);
AT(bp_program, value_count, 28); AT(bp_program, ops, 32); AT(bp_program, weights, 40); AT(bp_program, caches, 48);
AT(bp_program, values, 56); AT(bp_program, vocab_size, 64); AT(bp_program, output_width, 68);
AT(bp_program, max_context, 72); AT(bp_program, reserved, 76);

SIZE(bp_batch, 72); AT(bp_batch, size, 0); AT(bp_batch, seq_count, 4); AT(bp_batch, token_count, 8);
AT(bp_batch, row_count, 12); AT(bp_batch, page_stride, 16); AT(bp_batch, reserved, 20); AT(bp_batch, tokens, 24);
AT(bp_batch, positions, 32); AT(bp_batch, first, 40); AT(bp_batch, context, 48); AT(bp_batch, pages, 56);
AT(bp_batch, rows, 64);

SIZE(bp_limits, 32); AT(bp_limits, size, 0); AT(bp_limits, max_tokens, 4); AT(bp_limits, max_seqs, 8);
AT(bp_limits, max_rows, 12); AT(bp_limits, page_tokens, 16); AT(bp_limits, page_count, 20);
AT(bp_limits, max_context, 24); AT(bp_limits, kv_dtype, 28);

SIZE(bp_device_info, 152); AT(bp_device_info, size, 0); AT(bp_device_info, caps, 4);
AT(bp_device_info, memory_total, 8); AT(bp_device_info, memory_free, 16); AT(bp_device_info, name, 24);

SIZE(bp_model_memory, 32); AT(bp_model_memory, size, 0); AT(bp_model_memory, reserved, 4);
AT(bp_model_memory, weights, 8); AT(bp_model_memory, kv, 16); AT(bp_model_memory, workspace, 24);

SIZE(bp_backend_ops, 104); AT(bp_backend_ops, size, 0); AT(bp_backend_ops, reserved, 4); AT(bp_backend_ops, open, 8);
AT(bp_backend_ops, close, 16); AT(bp_backend_ops, info, 24); AT(bp_backend_ops, supports, 32);
AT(bp_backend_ops, compile, 40); AT(bp_backend_ops, release, 48); AT(bp_backend_ops, memory, 56);
AT(bp_backend_ops, submit, 64); AT(bp_backend_ops, wait, 72); AT(bp_backend_ops, wait_topk, 80);
AT(bp_backend_ops, copy_pages, 88); AT(bp_backend_ops, read_kv, 96);
