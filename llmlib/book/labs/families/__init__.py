"""What the chapter on the three families alone needs: one short module for each experiment.

`objectives` writes out what GPT, BERT, T5 and BART are trained on; `masked` lets tiny models guess
a hidden word, and `writing` counts what it costs them to write; `sentences`, `few_shot` and
`tagger` ask MiniLM's vectors; `dates` trains an encoder-decoder; `tuning` tunes a trained decoder;
`causal_flag` drops a decoder's mask. `runs` stores what takes longer.
"""
