"""Text: a corpus, tokenized and packed into rows of equal length."""
