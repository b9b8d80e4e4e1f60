control C(inout bit<8> a) {
    apply { bit<8> a = 1; }
}
