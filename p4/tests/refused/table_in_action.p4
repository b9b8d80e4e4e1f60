#include <core.p4>
control C(inout bit<8> a) {
    table t {
        key = { a : exact; }
        actions = { NoAction; }
        default_action = NoAction();
    }
    action again() { t.apply(); }
    apply { again(); }
}
