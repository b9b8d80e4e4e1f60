control C(inout bit<8> a) {
    action set(bit<8> value, inout bit<8> to) { to = value; }
    apply { }
}
