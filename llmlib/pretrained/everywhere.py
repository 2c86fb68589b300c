"""Keys of config.json that are found in all families, and values that change no number."""

from llmlib.pretrained.settings import Only, Table, harmless, only

TRAINING = harmless(
    "used in training alone",
    "initializer_range", "gradient_checkpointing", "embd_pdrop", "attn_pdrop", "resid_pdrop",
    "emb_pdrop", "attention_dropout", "hidden_dropout", "classifier_dropout", "residual_dropout",
    "embedding_dropout", "summary_first_dropout",
    "use_bfloat16", "loss_type", "output_router_logits", "aux_loss_alpha", "seq_aux",
    "neftune_noise_alpha",
)  # fmt: skip
TOKENS = harmless(
    "says what ids mean or which are put around a text: the tokenizer's matter",
    "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id",
    "mask_token_id", "decoder_start_token_id", "tokenizer_class", "prefix", "model_max_length",
    "tokenizer_padding_side", "tokenizer_model_max_length",
)  # fmt: skip
CHOOSING = harmless(
    "chooses tokens after the logits are there",
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "do_sample", "early_stopping",
    "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "min_p",
    "typical_p", "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "length_penalty",
    "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids", "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id",
    "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens", "task_specific_params", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_lookbehind",
    "target_lookbehind", "generation_config",
)  # fmt: skip
HANDED_OUT = harmless(
    "says what is handed out beside the logits",
    "output_attentions", "output_hidden_states", "output_scores", "output_past", "return_dict",
    "return_dict_in_generate", "use_return_dict", "use_cache", "tie_last_hidden_states",
)  # fmt: skip
OTHER_HEADS = harmless(
    "of another head, whose tensors would be refused: classes, answers, summaries",
    "id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task",
    "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
    "predict_special_tokens", "n_special",
)  # fmt: skip
ENGINE = harmless(
    "another way to compute the same numbers",
    "attn_implementation", "_attn_implementation", "_attn_implementation_autoset",
    "_attn_implementation_internal", "_flash_attn_2_enabled", "_experts_implementation",
    "experts_implementation", "chunk_size_feed_forward", "pretraining_tp", "torchscript",
    "use_flash_attention_2", "use_flash_attention", "use_flash_attn", "cache_implementation",
)  # fmt: skip
ORIGIN = harmless(
    "tells where the file comes from; no code beside the weights is ever run",
    "model_type", "architectures", "auto_map", "custom_pipelines", "transformers_version",
    "transformers.js_config", "_name_or_path", "name_or_path", "_commit_hash", "unsloth_version",
    "unsloth_fixed", "is_llama_config", "trust_remote_code",
)  # fmt: skip
STORED_TYPE = harmless(
    "the type of the stored numbers, which the file says itself; `load` has its own dtype",
    "dtype", "torch_dtype",
)  # fmt: skip
NEUTRAL: Table = {
    "is_causal": Only((True,)),
    **only(
        None, False,
        keys=("add_cross_attention", "is_encoder_decoder", "cross_attention_hidden_size",
              "attention_bias", "mlp_bias", "use_sliding_window", "rope_interleaved", "use_mrope",
              "use_qk_norm", "qk_layernorm", "parallel_attn", "alibi", "lm_head_bias",
              "use_bidirectional_attention"),
    ),
    **only(
        None, 1.0,
        keys=("partial_rotary_factor", "rotary_pct", "logit_scale", "logits_scaling",
              "residual_multiplier", "embedding_multiplier"),
    ),
    **only(
        None,
        keys=("quantization_config", "quantization", "per_layer_config", "sliding_window",
              "layer_types", "attention_chunk_size", "attention_multiplier", "clip_qkv",
              "final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar"),
    ),
    **only(None, 0, keys=("num_experts", "num_local_experts")),
    "pruned_heads": Only((None, {})),
    "no_rope_layers": Only((None, [])),
}  # fmt: skip
"""What changes the numbers of some family, with the values under which it does not."""

EVERYWHERE: Table = {
    **TRAINING, **TOKENS, **CHOOSING, **HANDED_OUT, **OTHER_HEADS, **ENGINE, **ORIGIN,
    **STORED_TYPE, **NEUTRAL,
    **harmless("of models with an encoder", "is_decoder", "tie_encoder_decoder"),
}  # fmt: skip
"""Keys of every family; a family's table stands over it."""
