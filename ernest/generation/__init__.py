"""Generation: one engine decodes text, pictures, videos and sounds, group by group."""
