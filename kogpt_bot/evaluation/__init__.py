"""Few-shot evaluation: the table of KoGPT's README, made anew on a served model."""
