const bit<4> a = 16;
