"""What a person reads: the report, the model card, and what is installed."""
