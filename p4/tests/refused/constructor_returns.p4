extern Counter { void Counter(); }
