/* sampling.h: how a token is drawn, in integers, so that every device draws the same token from the same logits.
 *
 * Filters are thresholds, not sorts. With key(l) the order-preserving map of f32 to uint32:
 *   1. penalties  for each token t among the last repeat_last_n of the sequence (the row's own token included), n times there:
 *                 l = l > 0 ? l / repeat : l * repeat; l -= n * frequency + presence
 *   2. greedy     temperature == 0: the largest l, lowest id first; done
 *   3. top_k      keep l >= the k-th largest (ties with it stay)
 *   4. top_p      q(l) = floor(exp(l - max) / sum * 2^31) over what is kept; find the smallest set of largest keys whose q sum
 *                 reaches floor(top_p * sum of q); ties with the last one stay
 *   5. min_p      keep l >= max + log(min_p)
 *   6. draw       w(l) = floor(exp((l - max) / temperature) * 2^s), s = 31 - ceil(log2(n_vocab)), W = sum of w;
 *                 r = floor(random32 * W / 2^32); the token is the first id (in order of id) whose running sum of w exceeds r
 * random32 = philox4x32-10(counter = (pos, 0, 0, 0), key = (seed_lo, seed_hi)).x, pos of the row the logits belong to.
 * logits_hash = sum over ids (mod 2^32) of hash32(bits(l) ^ hash32(id)) of the logits before penalties.
 * source  Philox: Salmon et al., SC 2011, doi 10.1145/2063384.2063405; top_p arXiv:1904.09751; min_p arXiv:2407.01082 */
#ifndef PM_GRAPH_SAMPLING_H
#define PM_GRAPH_SAMPLING_H

#include <stdint.h>

uint32_t pm__philox(uint32_t counter, uint32_t seed_lo, uint32_t seed_hi);
/* x ^= x>>16; x *= 0x7feb352d; x ^= x>>15; x *= 0x846ca68b; x ^= x>>16 (lowbias32) */
uint32_t pm__hash32(uint32_t x);
/* Order-preserving map of finite f32 to uint32; +0 and -0 differ. */
uint32_t pm__float_key(float x);

#endif
