void nothing() { }
control C(inout bit<8> a) {
    apply { if (nothing() == nothing()) { a = 1; } }
}
