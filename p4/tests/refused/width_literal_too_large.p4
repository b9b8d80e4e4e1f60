const bit<4> a = 4w16;
