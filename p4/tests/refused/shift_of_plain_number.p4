control C(inout bit<8> a) {
    apply { a = (bit<8>) (1 << a); }
}
