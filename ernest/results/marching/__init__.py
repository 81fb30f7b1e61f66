"""The time-marching paper's schemes: their orders in time, and their race against two others."""
