/* functions.glsl: functions of one number, each good to a few units in the last place where the
 * built-in ones need not be. exp() of nothing that overflows but where the result does. */
float sigmoid(float x) {
    float e = exp(-abs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

/* By series where the difference of two that are nearly equal would lose digits. */
float tanh_of(float x) {
    float z = x * x;
    if (z < 0.09)
        return x + x * z * (-0.33333333 + z * (0.13333333 + z * (-0.053968254 + z * 0.021869489)));
    float e = exp(-2.0 * abs(x));
    return sign(x) * (1.0 - e) / (1.0 + e);
}

/* tanh form */
float gelu(float x) {
    return x * sigmoid(1.5957691 * (x + 0.044715 * x * x * x));
}

float silu(float x) {
    return x * sigmoid(x);
}

/* log(1 + e) as the series of 2 atanh(e / (2 + e)). */
float softplus(float x) {
    float e = exp(-abs(x)), s = e / (2.0 + e), z = s * s;
    float tail = 0.14285714 + z * (0.11111111 + z * (0.090909091 + z * 0.076923077));
    return max(x, 0.0) + 2.0 * (s + s * z * (0.33333333 + z * (0.2 + z * tail)));
}
