/* fit.c - see fit.h. */
#include "fit.h"

int64_t natsl_fit_next(const int64_t bytes[2], const int64_t tokens[2], int64_t room, int try)
{
    if (bytes[1] == 0)
        return (int64_t)(1.02 * (double)bytes[0] * (double)room / (double)(tokens[0] > 0 ? tokens[0] : 1)) + 64;
    const int64_t between = bytes[1] - bytes[0];
    double part = 0.5; /* a straight line at first, then halves: texts differ from place to place */
    if (try < 8 && tokens[1] > tokens[0]) part = (double)(room - tokens[0]) / (double)(tokens[1] - tokens[0]);
    const int64_t at = bytes[0] + (int64_t)(part * (double)between);
    const int64_t least = bytes[0] + between / 16, most = bytes[1] - between / 16;
    return at < least ? least : at > most ? most : at;
}
