"""The report of a run as one HTML file: score tables, charts, samples, and which experts each task uses."""
