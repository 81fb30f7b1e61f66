"""The network: written for one device, with nothing below the embeddings that knows a modality."""
