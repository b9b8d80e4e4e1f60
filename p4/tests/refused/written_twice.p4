void swap(inout bit<8> a, inout bit<8> b) {
    bit<8> kept = a;
    a = b;
    b = kept;
}
control C(inout bit<8> x) {
    apply { swap(x, x); }
}
