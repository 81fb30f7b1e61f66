"""Cost of a network: operations counted, layers timed, and both compared with the processor's roofline."""
