"""From sound, pictures and text to tokens and back. May import `ernest.sequence` and `ernest.lcnet`."""
