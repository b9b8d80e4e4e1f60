struct pair_t { bit<8> left; bit<8> right; }
control C(inout pair_t pair) {
    action set(pair_t value) { pair = value; }
    apply { }
}
