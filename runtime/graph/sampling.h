/* sampling.h: how a token is drawn, in integers after the exponential, so that every device draws
 * the same token from the same logits. There is no sum of floats: each weight is rounded down to an
 * integer first, so no order of addition matters.
 *
 * Arithmetic is f32 with no fused multiply-add. The logits are read, never written. A NaN counts as
 * -inf. Filters are thresholds on key(l), the order-preserving map of f32 to uint32, not sorts:
 *
 *   1. penalties  over history positions max(0, pos - n + 1) .. pos of the row's sequence,
 *                 n = min(repeat_last_n, PM_MOST_REPEAT) (the row's own token is the last); for
 *                 each distinct token there, c times there: l = l > 0 ? l / repeat : l * repeat;
 *                 then l = l - (c * frequency + presence)
 *   2. max        the largest key, lowest id first. temperature <= 0, or max = -inf: that id is
 *                 the token; done
 *   3. top_k      0 < k < n_vocab: keep key(l) >= the k-th largest key (ties with it stay)
 *   4. top_p      top_p < 1: with e(l) = 1 where l == max, else exp(l - max), and
 *                 s = 31 - ceil(log2(n_vocab)), q(l) = floor(e(l) * 2^s) over what is kept,
 *                 Q = sum of q (fits 32 bits), P = floor(max(top_p, 0) * 2^24),
 *                 need = max(1, floor(P * Q / 2^24)) (the product has 64 bits): keep key(l) >= the
 *                 largest key T that is there with sum of q over key >= T at least need (ties with
 *                 it stay)
 *   5. min_p      min_p > 0: keep l >= max + log(min(min_p, 1))
 *   6. draw       w(l) = floor(e' * 2^s) over what is kept, e' = 1 where l == max, else
 *                 exp((l - max) / temperature); W = sum of w; r = floor(random32 * W / 2^32); the
 *                 token is the first id (in order of id) whose running sum of w exceeds r
 *
 * A token less likely than 2^-s times the likeliest has weight 0 and is never drawn.
 * random32 = philox4x32-10(counter = (pos, 0, 0, 0), key = (seed_lo, seed_hi)).x, pos of the row
 * the logits belong to. logits_hash = sum over ids (mod 2^32) of hash32(bits(l) ^ hash32(id)) of
 * the logits before penalties.
 * source  Philox: Salmon et al., SC 2011, doi 10.1145/2063384.2063405; top_p arXiv:1904.09751;
 *         min_p arXiv:2407.01082 */
#ifndef PM_GRAPH_SAMPLING_H
#define PM_GRAPH_SAMPLING_H

#include <stdint.h>

/* philox4x32-10: block  in, the counter; out, four random words. */
void pm__philox_block(uint32_t block[4], uint32_t seed_lo, uint32_t seed_hi);
/* The first word of the block of (counter, 0, 0, 0). */
uint32_t pm__philox(uint32_t counter, uint32_t seed_lo, uint32_t seed_hi);
/* x ^= x>>16; x *= 0x7feb352d; x ^= x>>15; x *= 0x846ca68b; x ^= x>>16 (lowbias32) */
uint32_t pm__hash32(uint32_t x);
/* Order-preserving map of f32 to uint32: flips all bits of a negative number, the sign of any
 * other. +0 and -0 differ; a NaN gets the key of -inf. */
uint32_t pm__float_key(float x);

#endif
