package P<T, T>();
