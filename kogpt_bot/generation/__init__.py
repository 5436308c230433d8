"""The generation service: the model, an engine that batches continuously, an OpenAI-shaped API."""
