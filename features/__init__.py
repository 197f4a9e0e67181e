"""What the nets see in each picture, pooled and kept by id."""
