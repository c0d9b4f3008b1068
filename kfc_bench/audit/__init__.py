"""Which options each library gets right, refuses, or gets wrong without a word, against float64.

What is run is the script that is printed: `script` puts it together, `worker` runs it, `verdicts` judges what came.
"""
