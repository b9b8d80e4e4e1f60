const int<8> a = 1;
