extern Counter { Counter(bit<32> size); void count(in bit<32> index); }
control C(in bit<32> a) {
    Counter(16) packets;
    apply { packets.count(a, 1); }
}
