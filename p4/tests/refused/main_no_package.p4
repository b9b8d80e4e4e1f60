extern Counter { Counter(); }
Counter() main;
