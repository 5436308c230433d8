"""How the bundled model is made: data, tokenizer, pre-training, chat tuning, evaluation."""
