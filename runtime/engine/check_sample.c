/* check_sample.c: cases of drawing tokens. */
#include "case_list.h"

/* Both nodes that closing a graph appends read tokens; `keep` is the one to check. */
static void close_graph(pm__check_case *c, uint32_t n_vocab, uint32_t keep) {
    if (pm__graph_close(&c->graph, pm__case_activation(c, "logits", PM__ROWS_OUT, n_vocab)) ==
        PM_OK) {
        c->graph.nodes[0] = c->graph.nodes[keep];
        c->graph.n_node = 1;
    }
    c->n_token = n_vocab;
}

typedef struct sample_case {
    const char *name;
    struct pm_step_sampler sampler;
    float nan_part;
    bool quick;
} sample_case;

static const sample_case samplers[] = {
    {"greedy", {.top_p = 1, .repeat_penalty = 1}, 0, true},
    {"plain", {.temperature = 1, .top_p = 1, .repeat_penalty = 1}, 0, false},
    {"top_k", {.temperature = 1.5f, .top_k = 5, .top_p = 1, .repeat_penalty = 1}, 0, false},
    {"top_p", {.temperature = 0.9f, .top_p = 0.9f, .repeat_penalty = 1}, 0, false},
    {"min_p", {.temperature = 2, .top_p = 1, .min_p = 0.05f, .repeat_penalty = 1}, 0, false},
    {"nan", {.temperature = 1, .top_p = 0.5f, .repeat_penalty = 1}, 0.3f, false},
    {"nan_all", {.temperature = 1, .top_p = 0.5f, .repeat_penalty = 1}, 1.5f, false},
    {"penalties",
     {.top_p = 1,
      .repeat_penalty = 1.3f,
      .presence_penalty = 0.5f,
      .frequency_penalty = 0.25f,
      .repeat_last_n = 64},
     0,
     false},
    {"all",
     {.temperature = 0.8f,
      .top_k = 40,
      .top_p = 0.95f,
      .min_p = 0.01f,
      .repeat_penalty = 1.1f,
      .presence_penalty = -0.5f,
      .frequency_penalty = 0.1f,
      .repeat_last_n = 5000},
     0,
     true},
};

static void case_sample(pm__case_list *l, const sample_case *s, uint32_t n_vocab, uint32_t n_out,
                        uint32_t last_pos) {
    pm__check_case c;
    pm__case_init(&c, n_out + 2, n_out);
    c.limits.n_ctx = 1500;
    c.last_pos = last_pos;
    c.outlier = 3;
    c.sampler = s->sampler;
    c.nan_part = s->nan_part;
    c.quick = s->quick && n_vocab == 2048;
    c.deep = n_vocab == 517;
    close_graph(&c, n_vocab, 0);
    pm__case_give(l, &c, "%s/%u/outs%u", s->name, n_vocab, n_out);
}

void pm__cases_sample(pm__case_list *l) {
    static const uint32_t vocabs[] = {1, 7, 127, 129, 2048, 32003};
    static const uint32_t outs[] = {1, 2, 5};
    for (size_t v = 0; v < PM__COUNT(vocabs); v++)
        for (size_t i = 0; i < PM__COUNT(samplers); i++)
            case_sample(l, &samplers[i], vocabs[v], outs[(v + i) % 3], i % 2 == 0 ? 1499 : 40);
    /* The largest vocabulary in use, and all that is done with it: many turns of many loops. */
    case_sample(l, &samplers[PM__COUNT(samplers) - 1], 262144, 1, 1499);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_sample(l, &samplers[n % PM__COUNT(samplers)], 517, n, 1499);
}

static void case_advance(pm__case_list *l, uint32_t n_row, uint32_t n_out, uint32_t last_pos) {
    pm__check_case c;
    pm__case_init(&c, n_row, n_out);
    c.last_pos = last_pos;
    c.quick = n_row == 3 || n_row == 7;
    c.deep = last_pos == 50;
    close_graph(&c, 101, 1);
    pm__case_give(l, &c, "rows%u/outs%u/pos%u", n_row, n_out, last_pos);
}

void pm__cases_advance(pm__case_list *l) {
    static const struct {
        uint32_t n_row, n_out, last_pos;
    } shapes[] = {{1, 1, 5}, {1, 1, 96}, {3, 3, 20}, {5, 1, 20}, {7, 4, 96}, {70, 70, 33}};
    for (size_t i = 0; i < PM__COUNT(shapes); i++)
        case_advance(l, shapes[i].n_row, shapes[i].n_out, shapes[i].last_pos);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_advance(l, n, n, 50);
}
