"""The claims of the ERNIE 5.0 report (arXiv 2602.04705), by its sections and tables, and what stands for each of them here."""

from ernest.results.claims.claim import ActiveShare, ByTest, Claim, Measured, Quote, Share

DEMO, METHODS = "README.md", "demo/bench/model.jsonl"
REFINER, RL = "docs/refiner.md", "docs/rl.md"
SEESAW = "python -m benchmarks.results seesaw"
COUNTED = "python -m benchmarks.methods"
SCORE = "score"
DIRECTIONS = (
    "image → text, whole caption",
    "speech → text, draws never heard",
    "video → text, family",
    "text → image: digit, colour, place",
    "text → speech, from the waveform",
    "text → video: family and lawful",
)


def _demo(label: str, row: str, least: float | None = None) -> Quote:
    """A score of the demo's table."""
    return Quote(label, DEMO, row, SCORE, least)


def _method(rows: str) -> tuple[Quote, ...]:
    """Figures of the methods, which carry their bars."""
    return (Quote("", METHODS, rows),)


def _of_the_whole(size: str, least: float) -> Share:
    """The demo's scores of a sub-model beside those of the whole model."""
    return Share("share of the whole model's score", METHODS, DIRECTIONS, f" [{size}]", least)


def _routing(where: str, words: str, paper: str, finding: str) -> Claim:
    """A claim on what experts specialise in, with the finding of that target that it is judged by."""
    return Claim(where, words, paper, Measured("routing", finding), "ernest results routing")


def _elastic(where: str, words: str, paper: str = "–") -> Claim:
    """A claim on elastic training, tried by runs of its own."""
    return Claim(where, words, paper, Measured("elastic", words), "ernest results elastic")


def _longer(where: str, words: str, paper: str) -> Claim:
    """The same claim, tried by trainings as long as the demo's."""
    evidence = Measured("elastic-longer", words)
    return Claim(where, f"{words}: as long as the demo", paper, evidence, "ernest results elastic-longer")


def _ablation(where: str, words: str, paper: str = "no figure") -> Claim:
    """A claim on a part of the recipe, tried by leaving it out."""
    return Claim(where, words, paper, Measured("ablations", words), "ernest results ablations")


def _films(where: str, words: str, paper: str = "no figure") -> Claim:
    """A claim on films, or on the bits of a frame, tried by runs of its own."""
    return Claim(where, words, paper, Measured("films", words), "ernest results films")


def _inference(where: str, words: str, paper: str = "no figure") -> Claim:
    """A claim on a trained model at work."""
    return Claim(where, words, paper, Measured("inference", words), "ernest results inference")


def _sparse(words: str) -> Claim:
    """A claim on sparsity, tried by the recipe of that name."""
    return Claim("§2.1", words, "no figure", Measured("sparse", words), "ernest results sparse")


def _methods(where: str, words: str, paper: str = "a curve") -> Claim:
    """A claim on a part of the policy gradient, tried by runs of its own."""
    return Claim(where, words, paper, Measured("rl-methods", words), "ernest results rl-methods")


ERNIE = (
    Claim("§2, Fig 1", "one backbone learns all modalities together, and none loses by it", "no table",
          (Quote("", "docs/results/data.md", "seesaw: seesaw, *"),), SEESAW),
    Claim("§2.1", "everything is prediction of the next group: the likelihood of a record is the sum over groups", "",
          ByTest(("tests/model/test_likelihood.py::test_every_group_has_its_own_number",
                 "tests/rl/test_likelihood.py::test_a_response_is_the_sum_of_its_groups_evaluated_one_after_the_other"))),
    Claim("Fig 2, 3", "records become sequences with control tokens as drawn", "",
          ByTest(("tests/sequence/test_groups.py::test_figure_2", "tests/sequence/test_groups.py::test_figure_3"))),
    Claim("§2.2.3, §5.3", "attention is causal between groups and open within one", "",
          ByTest(("tests/sequence/test_mask.py::test_the_rule_is_the_oracle",
                 "tests/model/test_backbone.py::test_inputs_reach_exactly_the_outputs_that_may_see_them"))),
    Claim("§2.2.3", "one rotary embedding for all, whose scales share their centre", "",
          ByTest(("tests/sequence/test_positions.py::test_text_alone_is_ordinary_rotary_embedding",
                 "tests/model/test_backbone.py::test_a_common_offset_of_all_places_changes_nothing",
                 "tests/sequence/test_groups.py::test_scales_share_their_centre_exactly"))),
    _ablation("§2.2.3", "places in height and width are worth having", "no ablation"),
    Claim("§2.1", "the router sees the hidden state alone, no modality", "",
          ByTest(("tests/model/test_experts.py::test_router_sees_the_hidden_state_alone",
                 "tests/model/test_network.py::test_other_names_of_tasks_change_nothing"))),
    Claim("§2.1", "fewer than 3 % of the parameters are active", "< 3 %",
          (ActiveShare("tiny", 0.03), ActiveShare("sparse", 0.03), ActiveShare("base", 0.03)), "ernest results",
          "`base` has not been trained"),
    _sparse("so sparse a network trains in balance, and no expert dies"),
    _sparse("it is better than a dense one of equal active size"),
    _sparse("it is no worse than one as sparse as the demo's, at equal compute (our bar)"),
    Claim("§5.1", "no token is dropped", "0", ByTest(("tests/model/test_experts.py::test_no_choice_is_dropped",))),
    Claim("§2.1", "balance without an auxiliary loss: a bias that moves the choice and never the gates", "",
          ByTest(("tests/model/test_experts.py::test_bias_changes_the_choice_and_never_the_gates",
                 "tests/model/test_experts.py::test_balance_evens_a_skewed_router_out"))),
    Claim("§2.1", "the bias keeps the mixture's load even", "no figure",
          (_demo("normalised entropy of the worst layer", "mixture-load entropy, worst layer", least=0.98),), "make demo"),
    _ablation("§2.1, §3.2", "without the bias load collapses; a tenth of its speed late calms it"),
    _routing("§6.4.1", "generation shares experts, understanding too, text and image generation none", ".64–.83, .52–.98, ≤ .09",
             "generation shares experts, understanding shares experts, text and image generation share none"),
    _routing("§6.4.1", "experts tell tasks apart (beyond chance: our test)", "not tested",
             "experts tell tasks apart beyond chance"),
    _routing("Fig 9", "specialisation follows the task more than the modality", ".52–.98 against .18–.25",
             "specialisation follows the task (understand, generate) more than the modality"),
    _routing("Fig 9", "text shares most with audio", ".12 .32 .40",
             "text shares most with audio"),
    _routing("Fig 9", "what text shares with understanding grows with depth", ".03 .21 .29",
             "what text shares with understanding grows with depth"),
    _routing("Fig 9", "understanding and generation share little", "≤ .25",
             "understanding and generation share little in every layer"),
    _routing("Fig 8", "some experts fire for everything, the others are specific", "seen",
             "some experts fire for everything, the others are specific to a modality"),
    _routing("Fig 8, 10", "text is spread widest, generation and audio are concentrated", ".96 to .60",
             "text is spread widest; generation and audio are more concentrated than understanding"),
    _routing("Fig 8", "the busiest experts are those of audio and video generation", "68 %, 40 %",
             "the busiest experts are those of audio and of video generation, the least busy peak is text's"),
    _routing("Fig 10", "text's entropy is above generation's", "all layers",
             "text's entropy is above generation's"),
    _routing("Fig 10", "text uses its experts evenly in every layer", ".94–.97",
             "text uses its experts evenly in every layer"),
    _routing("Fig 10", "the first layer is not badly imbalanced", "≥ .73",
             "the first layer is not badly imbalanced, against the custom of making it dense"),
    _routing("Fig 10", "in the last layer choices are more concentrated", ".94, .83, .65",
             "in the last layer choices are more concentrated than in the middle"),
    Claim("§2.1, §3.2", "predicting the token after next drafts texts without changing them", "",
          ByTest(("tests/generation/test_drafts.py::test_answers_are_those_of_plain_decoding",
                 "tests/generation/test_drafts.py::test_the_head_drafts_what_training_says"))),
    _inference("§2.1, §3.2", "it decodes faster"),
    _ablation("§2.1, §3.2", "and costs the next token nothing"),
    Claim("§3.1", "byte pairs over UTF-16 lose nothing, also under dropout", "",
          ByTest(("tests/tokenizers/test_text.py::test_round_trip_of_a_hundred_thousand_random_code_points",
                 "tests/tokenizers/test_text.py::test_dropout_segments_a_fifth_of_the_words_differently_and_only_by_its_generator"))),
    Claim("§3.1", "they take no more tokens for Chinese than UTF-8", "",
          ByTest(("tests/tokenizers/test_text.py::test_chinese_needs_no_more_tokens_than_utf8_bpe_with_as_many_merges",))),
    Claim("§2.2.1", "a causal 2-D tokenizer is inflated to 3-D: a picture is a video of one frame", "",
          ByTest(("tests/tokenizers/test_films.py::test_a_picture_has_the_latent_and_the_look_that_the_tokenizer_of_pictures_gives_it",
                 "tests/tokenizers/test_films.py::test_right_after_inflation_groups_have_the_latents_of_their_last_frames",
                 "tests/tokenizers/test_films.py::test_latents_hang_on_no_later_frame_and_frames_on_no_later_latent"))),
    Claim("§2.2.1", "bits in scales: each scale and each bit helps", "no figure", _method("14: *"), COUNTED),
    Claim("§2.2.1", "semantic regularisation brings meaning into the bits", "no figure",
          ByTest(("tests/training/test_words_learnt.py::test_words_of_captions_bring_into_the_bits_what_pixels_alone_do_not",))),
    Claim("§2.2.3", "pictures are drawn scale by scale from words", "GenEval 90.1",
          (_demo("digit, colour and place right", "text → image: digit, colour, place", least=0.8),), "make demo",
          "GenEval itself can't be run"),
    Claim("§2.2.3", "videos are drawn the same way", "VBench 84.2",
          (_demo("family", "text → video: family", least=0.8),
           _demo("and lawful", "text → video: family and lawful", least=0.6)), "make demo", "VBench itself can't be run"),
    Claim("§2.2.3", "flipped bits of the history are mended by the later scales", "",
          ByTest(("tests/tokenizers/test_bitwise_quantiser.py::test_later_scales_mend_flipped_bits",
                 "tests/tokenizers/test_bitwise_quantiser.py::test_no_flips_is_teacher_forcing"))),
    _ablation("§2.2.3", "training with flips makes drawing robust"),
    _films("VideoAR", "corruption that grows with time slows the drift of long videos"),
    Claim("§2.2.3", "scales weigh by their side", "",
          ByTest(("tests/data/test_collate.py::test_weights_of_the_specification",))),
    _ablation("§2.2.3", "the weights help the coarse scales"),
    _films("§2.2.3", "windowed attention and dropped frames"),
    _films("§2.2.1", "from few bits to many during training"),
    Claim("§2.2.2", "both paths of a given picture are merged by attention over four patches", "",
          ByTest(("tests/model/test_encoder.py::test_two_paths_of_k_patches_become_one_token",
                 "tests/model/test_encoder.py::test_a_token_hears_every_patch_of_both_paths_and_not_their_order"))),
    _ablation("§2.2.2", "the merger is better than either path and than an MLP"),
    Claim("§2.2.3", "a separate refiner adds detail: pictures made small", "no figure",
          (Quote("refined", REFINER, "PSNR, from pictures made small", "refined", least=47.2),
           Quote("bicubic", REFINER, "PSNR, from pictures made small", "bicubic")), "ernest refiner report"),
    Claim("§2.2.3", "and on what the tokenizer made", "no figure",
          (Quote("refined", REFINER, "PSNR, from what the tokenizer made of them", "refined", least=31.77),
           Quote("bicubic", REFINER, "PSNR, from what the tokenizer made of them", "bicubic")), "ernest refiner report"),
    Claim("§2.3.1", "a codec of 12.5 frames a second, whose codes each help", "12.5 Hz", _method("24: *"), COUNTED),
    _ablation("§2.3.1", "the first code is made semantic by distillation"),
    Claim("§2.3.2", "a codec frame enters as the sum of its levels", "",
          ByTest(("tests/model/test_network.py::test_a_codec_frame_enters_as_the_sum_of_its_levels",))),
    Claim("Tab 8", "speech is understood", "WER .3–7.4 %",
          (_demo("words right, draws never heard", "speech → text, draws never heard", least=0.95),
           _demo("voices never heard", "speech → text, voices never heard", least=0.95)), "make demo",
          "twenty words, not AISHELL"),
    Claim("§2.3.2, Fig 3", "codes of a frame are predicted along the depth of the network", "",
          ByTest(("tests/sequence/test_groups.py::test_audio_takes_a_position_per_frame_and_two_more",
                 "tests/model/test_network.py::test_codes_are_conditioned_on_earlier_levels_of_their_frame"))),
    _ablation("§2.3.2", "the feedback of codes matters: without it later levels lose"),
    Claim("Tab 8", "speech is made", "SEED-TTS WER 1.35 %, 1.54 %",
          (_demo("words right", "text → speech, from the waveform", least=0.9),), "make demo", "the speaker is not judged"),
    Claim("§3.2", "losses are weighed to one size", "no figure", _method("29: largest*"), COUNTED),
    _ablation("§3.2", "no modality takes over the gradient"),
    Claim("§3.2", "warm-up, a constant rate, a cosine at the end", "",
          ByTest(("tests/training/test_schedule.py::test_warm_up_is_linear_and_ends_at_the_peak",
                 "tests/training/test_schedule.py::test_the_border_between_stable_and_decay"))),
    Claim("§3.2", "rows grow in number early, in length at the border, where bias and token after next change", "",
          ByTest(("tests/training/test_stages.py::test_the_table_of_the_schedule",
                 "tests/training/test_loop.py::test_cut_and_resumed_in_either_stage_is_bitwise_the_unbroken_run"))),
    Claim("§3.2", "the context grows in mid-training without loss", "8K to 128K",
          Measured("context", "the context grows in mid-training without loss"), "ernest results context"),
    Claim("§3.3", "each instance runs a sub-model: depth 25 %, width 20 %, sparsity 20 %", "75/80/80",
          ByTest(("tests/model/test_submodel.py::test_frequencies", "tests/model/test_submodel.py::test_no_draw_breaks_a_rule",
                 "tests/model/test_backbone.py::test_what_a_submodel_leaves_out_gets_no_gradient"))),
    _elastic("Tab 9–11", "elastic training costs the full model little", "−.004, +.007, +.024 nats"),
    _longer("Tab 9–11", "elastic training costs the full model little", "−.004, +.007, +.024 nats"),
    _elastic("Tab 9–11", "and helps at reduced size (against a plain model: not in the report)", "+.058 at k = 2"),
    _elastic("Tab 9–11", "a sub-model is better than a network of its size with the same records (not in the report)"),
    _elastic("Tab 9–11", "and than one with the same compute (not in the report)"),
    Claim("§3.3", "a sub-model is cut out exactly", "",
          ByTest(("tests/model/test_slicing.py::test_logits_are_those_of_the_masked_parent",
                 "tests/model/test_slicing.py::test_sizes_follow_the_formula"))),
    _elastic("Tab 12", "36 % of all and 54 % of the active parameters, trained on, keep .995 of the score", "75.17 of 75.55"),
    _longer("Tab 12", "36 % of all and 54 % of the active parameters, trained on, keep .995 of the score", "75.17 of 75.55"),
    Claim("Tab 12", "before that: the same size without training on (not in the report)", "–",
          (_of_the_whole("half", 0.97),), "make demo"),
    Claim("Tab 12", "a quarter of the experts per token costs 1.5 %", "74.43 of 75.55",
          (_of_the_whole("top-1", 0.98),), "make demo", "one of two experts, not one of four"),
    _inference("Tab 12", "and decodes more than 15 % faster", "> 15 %"),
    _ablation("Tab 12", "one expert of four costs little, of a network trained with four (by losses)", "1.5 % of the scores"),
    Claim("§4", "one reinforcement learning for all modalities raises them all", "no table",
          Measured("rl-together", "one reinforcement learning for all modalities raises them all"), "ernest results rl-together"),
    Claim("§4", "tasks are merged in stages: words first beats all at once (not in the report)", "–",
          Measured("rl-together", "tasks are merged in stages: words first beats all at once (not in the report)"),
          "ernest results rl-together"),
    Claim("§4", "films are raised by verifiers that are laws of physics (not in the report)", "–",
          Measured("rl", "films are raised by verifiers that are laws of physics (not in the report)"), "ernest results rl"),
    Claim("§4", "mass is lost where energy alone is rewarded, and kept where both are (not in the report)", "–",
          Measured("rl-areas", "mass is lost where energy alone is rewarded, and kept where both are (not in the report)"),
          "ernest results rl-areas"),
    Claim("§4.1, Fig 5", "U-RB trains in the order of prompts and keeps workers busy", "Fig 5",
          (Quote("utilisation of U-RB", RL, "U-RB", "utilisation", least=0.34),
           Quote("synchronous", RL, "synchronous", "utilisation"),
           Quote("length of the first two updates", RL, "U-RB", "length, first two", least=0.99, most=1.01),
           Quote("age at most", RL, "U-RB", "age, most", most=2)), "python -m benchmarks.model.rl_orders"),
    Claim("§4.2, Eq 1–3", "MISC masks tokens, not responses; on a matched policy it is GSPO", "",
          ByTest(("tests/rl/test_objectives.py::test_on_a_matched_policy_misc_is_gspo_and_its_weight_is_one",
                 "tests/rl/test_objectives.py::test_one_unit_out_of_bounds_costs_itself_in_misc_and_the_response_in_gspo"))),
    _methods("Fig 6", "it keeps the entropy where GSPO's explodes"),
    Claim("§4.2, Eq 4", "WPSM takes a share of the gradient from what is well learnt", "",
          ByTest(("tests/rl/test_objectives.py::test_their_share_of_the_gradient_is_one_minus_alpha",))),
    _methods("§4.2", "hard prompts gain by it"),
    Claim("§4.3, Eq 5", "hints fall with every turn and every success", "",
          ByTest(("tests/rl/test_hints.py::test_with_a_constant_rate_the_share_is_that_of_the_report",))),
    _methods("§4.3", "hard prompts are learnt with hints and not without"),
    Claim("§5.4", "replaying experts makes trainer and sampler agree", "",
          ByTest(("tests/rl/test_likelihood.py::test_trainer_and_sampler_agree",))),
    _methods("§5.4", "it lowers the divergence of a sampler of lower precision", "no figure"),
    Claim("§5.3", "the mask of documents needs no dense matrix", "",
          ByTest(("tests/model/test_attention.py::test_documents_one_by_one_are_the_mask_with_gradients",))),
    Claim("§5.2", "tokenizers run beside the backbone", "",
          ByTest(("tests/training/test_makers.py::test_processes_beside_a_training_change_no_bit_of_it",
                 "tests/training/test_makers.py::test_examples_are_those_that_were_encoded_before"))),
    Claim("§5.1, §5.4", "FP8 loses nothing", "no figure", Measured("precision", "FP8 loses nothing"), "ernest results precision"),
    Claim("§2.1, §5.1", "no modality id, no auxiliary loss, no second objective", "",
          ByTest(("tests/training/test_loss.py::test_text_vision_audio_and_the_token_after_next_are_all_there_is",
                 "tests/model/test_network.py::test_no_part_of_the_trunk_is_told_a_modality"))),
    Claim("Tab 1–8", "scores on public benchmarks", "§7 of the report", why="they ask for a model of a trillion parameters"),
)  # fmt: skip
