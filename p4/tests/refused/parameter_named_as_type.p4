extern counter { counter(bit<32> size); void count(in bit<32> index); }
control C(in bit<32> a) {
    counter(4) packets;
    action count(bit<32> counter) { packets.count(counter); }
    apply { count(a); }
}
