/* signed.glsl: levels of weights as signed bytes, for tiles that many rows share.
 * before  types.glsl
 * makes   SIGNED_SPAN, 16 or 32: elements of a block that share a scale
 * calls   w_signed(raw, e): levels of elements e to e + 3; what w_scale and, with SIGNED_OFFSET,
 *         w_offset belong to. Levels about a middle come without an offset */
#ifdef W_PAIRED
#define SIGNED_SPAN 32
#else
#define SIGNED_SPAN W_SPAN
#endif
#if defined(W_OFFSET) && !defined(W_MIDDLE)
#define SIGNED_OFFSET
#endif

uint w_signed(w_raw raw, uint e) {
#ifdef W_MIDDLE
    return w_bytes(raw, e) + (128u - W_MIDDLE) * 0x01010101u ^ 0x80808080u;
#else
    return w_bytes(raw, e);
#endif
}
