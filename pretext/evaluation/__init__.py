"""How a pretraining is judged: embeddings, probes, monitoring."""
