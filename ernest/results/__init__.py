"""Every claim of the three papers, tried at small scale: what is run for it, what came out, and what may be said of it."""
