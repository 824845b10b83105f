"""What limits a model: the number of rows (learning curves), and the rows that it gets wrong."""
