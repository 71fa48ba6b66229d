"""What is learned: forecasts of durations, embeddings, neighbours; saved in a plain folder."""
