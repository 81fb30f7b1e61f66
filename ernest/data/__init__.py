"""The user's files and the world's records, tokenised, stored and packed into batches."""
