//! From characters to token batches and back: vocabularies, tokenisation, corpora, batches, metrics and built-in tasks.
