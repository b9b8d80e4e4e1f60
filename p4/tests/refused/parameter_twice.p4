control C(in bit<8> a, inout bit<8> a);
