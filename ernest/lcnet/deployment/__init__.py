"""Deployment of a trained network: export, quantisation, runtimes, verification and timing."""
