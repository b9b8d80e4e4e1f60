control C(inout bit<8> a) {
    apply { for (bit<8> i in 0 .. 7) { a = i; } }
}
