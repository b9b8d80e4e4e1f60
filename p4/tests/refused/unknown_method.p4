header h_t { bit<8> a; }
control C(inout h_t h) { apply { h.makeValid(); } }
