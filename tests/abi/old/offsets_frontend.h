/* Where plugins of ABI 1.1 have their fields, as libabigail read it from the headers of that time. */
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

SIZE(bp_logit_bias, 8); AT(bp_logit_bias, token, 0); AT(bp_logit_bias, bias, 4);

SIZE(bp_sampling, 64); AT(bp_sampling, size, 0); AT(bp_sampling, top_k, 4); AT(bp_sampling, temperature, 8);
AT(bp_sampling, top_p, 12); AT(bp_sampling, min_p, 16); AT(bp_sampling, typical_p, 20);
AT(bp_sampling, repetition_penalty, 24); AT(bp_sampling, frequency_penalty, 28);
AT(bp_sampling, presence_penalty, 32); AT(bp_sampling, penalty_window, 36); AT(bp_sampling, seed, 40);
AT(bp_sampling, logit_bias, 48); AT(bp_sampling, logit_bias_count, 56); AT(bp_sampling, logprobs, 60);

SIZE(bp_message, 64); AT(bp_message, role, 0); AT(bp_message, content, 8); AT(bp_message, name, 16);
AT(bp_message, tool_call_id, 24); AT(bp_message, tool_calls_json, 32); AT(bp_message, content_bytes, 40);
AT(bp_message, reserved, 48);

SIZE(bp_tool_format, 120); AT(bp_tool_format, name, 0); AT(bp_tool_format, begin, 16); AT(bp_tool_format, end, 48);
AT(bp_tool_format, arguments, 80); AT(bp_tool_format, list, 96); AT(bp_tool_format, reserved, 100);

SIZE(bp_request, 256); AT(bp_request, size, 0); AT(bp_request, flags, 4); AT(bp_request, model, 8);
AT(bp_request, input, 16); AT(bp_request, message_count, 20); AT(bp_request, messages, 24);
AT(bp_request, tools_json, 32); AT(bp_request, template_kwargs_json, 40); AT(bp_request, text, 48);
AT(bp_request, text_bytes, 56); AT(bp_request, tokens, 64); AT(bp_request, token_count, 72);
AT(bp_request, max_tokens, 80); AT(bp_request, priority, 84); AT(bp_request, timeout_ns, 88);
AT(bp_request, stop, 96); AT(bp_request, stop_count, 104); AT(bp_request, stop_token_count, 108);
AT(bp_request, stop_tokens, 112); AT(bp_request, salt, 120); AT(bp_request, task, 128);
AT(bp_request, dimensions, 132); AT(bp_request, beside, 136); AT(bp_request, prompt_name, 144);
AT(bp_request, grammar, 152); AT(bp_request, grammar_bytes, 160); AT(bp_request, grammar_kind, 164);
AT(bp_request, tool_name, 168); AT(bp_request, tool_choice, 176); AT(bp_request, unused, 180);
AT(bp_request, reserved, 184); AT(bp_request, sampling, 192);

SIZE(bp_token_logprob, 24); AT(bp_token_logprob, token, 0); AT(bp_token_logprob, logprob, 4);
AT(bp_token_logprob, bytes, 8); AT(bp_token_logprob, byte_count, 16); AT(bp_token_logprob, reserved, 20);

SIZE(bp_usage, 72); AT(bp_usage, prompt_tokens, 0); AT(bp_usage, completion_tokens, 4);
AT(bp_usage, cached_tokens, 8); AT(bp_usage, preemptions, 12); AT(bp_usage, queued_ns, 16);
AT(bp_usage, prefill_ns, 24); AT(bp_usage, decode_ns, 32); AT(bp_usage, drafted_tokens, 40);
AT(bp_usage, accepted_tokens, 44); AT(bp_usage, reserved, 48);

SIZE(bp_event, 664); AT(bp_event, size, 0); AT(bp_event, kind, 4); AT(bp_event, finish, 8);
AT(bp_event, text_bytes, 12); AT(bp_event, text, 16); AT(bp_event, chosen, 24); AT(bp_event, top, 48);
AT(bp_event, top_count, 56); AT(bp_event, stop_index, 60); AT(bp_event, usage, 64); AT(bp_event, error, 136);
AT(bp_event, embedding, 648); AT(bp_event, embedding_width, 656); AT(bp_event, position, 660);

SIZE(bp_model_info, 1424); AT(bp_model_info, size, 0); AT(bp_model_info, state, 4); AT(bp_model_info, name, 8);
AT(bp_model_info, backend, 72); AT(bp_model_info, family, 136); AT(bp_model_info, weight_type, 168);
AT(bp_model_info, path, 200); AT(bp_model_info, message, 712); AT(bp_model_info, parameters, 1224);
AT(bp_model_info, file_bytes, 1232); AT(bp_model_info, weight_bytes, 1240); AT(bp_model_info, kv_bytes, 1248);
AT(bp_model_info, workspace_bytes, 1256); AT(bp_model_info, context, 1264); AT(bp_model_info, train_context, 1268);
AT(bp_model_info, vocab_size, 1272); AT(bp_model_info, layers, 1276); AT(bp_model_info, width, 1280);
AT(bp_model_info, has_chat_template, 1284); AT(bp_model_info, task, 1288); AT(bp_model_info, embedding_width, 1292);
AT(bp_model_info, bos_token, 1296); AT(bp_model_info, eos_token, 1300); AT(bp_model_info, tools, 1304);

SIZE(bp_model_stats, 104); AT(bp_model_stats, size, 0); AT(bp_model_stats, running, 4);
AT(bp_model_stats, waiting, 8); AT(bp_model_stats, pages_used, 12); AT(bp_model_stats, pages_total, 16);
AT(bp_model_stats, pages_cached, 20); AT(bp_model_stats, requests, 24); AT(bp_model_stats, failed, 32);
AT(bp_model_stats, prompt_tokens, 40); AT(bp_model_stats, completion_tokens, 48); AT(bp_model_stats, steps, 56);
AT(bp_model_stats, preemptions, 64); AT(bp_model_stats, prefix_hit_tokens, 72); AT(bp_model_stats, loads, 80);
AT(bp_model_stats, drafted_tokens, 88); AT(bp_model_stats, accepted_tokens, 96);

SIZE(bp_engine_api, 120); AT(bp_engine_api, size, 0); AT(bp_engine_api, reserved, 4); AT(bp_engine_api, defaults, 8);
AT(bp_engine_api, submit, 16); AT(bp_engine_api, next, 24); AT(bp_engine_api, cancel, 32);
AT(bp_engine_api, release, 40); AT(bp_engine_api, model_count, 48); AT(bp_engine_api, model_info, 56);
AT(bp_engine_api, find_model, 64); AT(bp_engine_api, load, 72); AT(bp_engine_api, stats, 80);
AT(bp_engine_api, tokenize, 88); AT(bp_engine_api, detokenize, 96); AT(bp_engine_api, render, 104);
AT(bp_engine_api, unload, 112);

SIZE(bp_frontend_ops, 40); AT(bp_frontend_ops, size, 0); AT(bp_frontend_ops, reserved, 4);
AT(bp_frontend_ops, open, 8); AT(bp_frontend_ops, run, 16); AT(bp_frontend_ops, stop, 24);
AT(bp_frontend_ops, close, 32);
