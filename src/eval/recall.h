/* recall.h - samples of InfiniteBench's retrieval kind: a pass key or a number in noise, a value of a JSON object; the classic needle
 * in a text; and samples of the user's own files (JSON lines).
 * Owns: what its functions make. MPI: none. Source: InfiniteBench (templates, scores), LLMTest_NeedleInAHaystack
 * (needle, question), in natsl's own lengths. Tests:
 * tests/unit/test_eval.c */
#ifndef NATSL_RECALL_H
#define NATSL_RECALL_H

#include "eval_task.h"

/** As natsl_eval_check and natsl_eval_make, for tasks from NATSL_EVAL_PASSKEY on. */
natsl_status natsl_recall_check(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length);
natsl_status natsl_recall_make(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                               int64_t index, natsl_rng rng, natsl_eval_sample *out);

/** A file of samples. */
typedef struct natsl_eval_lines {
    const char *path;       /* (borrowed) */
    char name[128];         /* of the task: the file's without ".jsonl"; of RULER's layout <task>_<length> */
    int64_t *begin, *bytes; /* [count] of the lines that hold samples */
    int64_t count, bad;     /* lines that do not */
    int64_t longest;        /* bytes of a prompt */
    char complaint[512];    /* about the first bad line */
} natsl_eval_lines;

/** Looks through a file. A line has "input" and "outputs" (RULER; "answer_prefix" follows the input, if it is there) or "context",
 * "input", "question" or "query", and "answer" or "outputs" (InfiniteBench, HELMET: context, two line feeds, question, and
 * "answer_prefix" or a line feed). Lines without one are counted where keep_going is 1, else the first is an error:
 * NATSL_ERR_INPUT names line and reason. NATSL_ERR_INPUT also when no line is a sample; NATSL_ERR_NOMEM. */
natsl_status natsl_eval_lines_scan(const char *path, int keep_going, natsl_eval_lines *out);
void natsl_eval_lines_free(natsl_eval_lines *lines);

#endif
