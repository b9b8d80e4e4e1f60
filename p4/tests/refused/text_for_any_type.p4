extern void log<T>(in T data);
control C() {
    apply { log("boo"); }
}
