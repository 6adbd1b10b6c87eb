"""What is read after training: records, their summary, their verdicts."""
