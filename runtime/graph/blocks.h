/* blocks.h: activations in blocks of 32 eight-bit integers, as the operation QUANTIZE makes them
 * for integer dot products. A row of n blocks is an activation of PM__BLOCK_WORDS * n words:
 *   [n][4]  integers 0 to 15 of each block, four a word, the lowest first
 *   [n][4]  integers 16 to 31
 *   [n][4]  f32: the block's scale, the sums of its first and its second 16 numbers, 0
 * so that neighbours in a kernel read neighbouring 16 bytes. The scale has a mantissa of five bits,
 * which makes all of it exact: any device gives the same bits.
 *
 * accuracy  a number is off by at most half its block's scale, which is 1 / 246 of the largest of
 *           the block. For numbers of a bell shape the NMSE of the blocks, and of products with
 *           them, is 3.1e-5; it were 2.9e-5 with an exact scale */
#ifndef PM_GRAPH_BLOCKS_H
#define PM_GRAPH_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PM__BLOCK_N = 32, PM__BLOCK_WORDS = 12 };

/* x    [PM__BLOCK_N] f32; a block with an infinity, a NaN or a number from 2^100 on is NaNs, one
 *      whose numbers are all below 2^-60 is zeros
 * row  out, of n_block blocks; this is block i of it */
void pm__block_write(const float *x, uint32_t i, uint32_t n_block, uint32_t *row);
/* out  [PM__BLOCK_N] f32, the numbers that block i of a row stands for */
void pm__block_read(const uint32_t *row, uint32_t i, uint32_t n_block, float *out);

#endif
