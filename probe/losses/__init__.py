"""The margin-softmax family: loss(embeddings, labels) -> scalar; margins in radians."""
